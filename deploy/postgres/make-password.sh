#!/bin/sh
# Writes the database's password into the folder /password: POSTGRES_PASSWORD if .env has it, else a random one, made
# once. `password` is for the server, `pgpass` for the clients of the API and the workers (libpq, as user 10001).
set -eu
umask 077
cd /password
if [ -n "${POSTGRES_PASSWORD:-}" ]; then
  printf %s "$POSTGRES_PASSWORD" > password.new
elif [ -s password ]; then
  cp password password.new
else
  od -An -N24 -tx1 /dev/urandom | tr -d ' \n' > password.new
fi
printf '*:*:*:masktune:%s\n' "$(sed 's/[\\:]/\\&/g' password.new)" > pgpass.new
chmod 444 password.new
chown 10001:10001 pgpass.new
mv -f password.new password
mv -f pgpass.new pgpass
