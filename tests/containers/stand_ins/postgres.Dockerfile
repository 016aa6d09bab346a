# Stands in for postgres:17 where no image can be pulled: Debian's PostgreSQL, set up from the same variables and folders.
FROM python:3.11-slim-bookworm
RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends postgresql util-linux > /dev/null && rm -rf /var/lib/apt/lists \
 && ln -s /usr/lib/postgresql/*/bin/* /usr/local/bin/ 2> /dev/null || true
COPY postgres-entrypoint.sh /usr/local/bin/docker-entrypoint.sh
ENV PGDATA=/var/lib/postgresql/data
ENTRYPOINT ["sh", "/usr/local/bin/docker-entrypoint.sh"]
