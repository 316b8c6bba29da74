-- Gives the database the password that the volume `password` has, for psql in the container of the server.
\set password `cat /password/password`
ALTER ROLE masktune PASSWORD :'password';
