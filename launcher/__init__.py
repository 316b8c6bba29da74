"""The commands that are the service: serve, api, worker, web, demo, doctor, backup, restore, migrate."""
