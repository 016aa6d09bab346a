# Stands in for prom/prometheus where no image can be pulled: Debian's package, started as that image starts it.
FROM python:3.11-slim-bookworm
RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends prometheus > /dev/null && rm -rf /var/lib/apt/lists
USER 65534:65534
ENTRYPOINT ["prometheus"]
