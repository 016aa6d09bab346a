# What SageMaker runs to prepare data and to compare models: `recipes.*.steps.image`, pushed to your registry.
# From the repository's root: docker build -f services/retrainer/steps.Dockerfile -t driftsonde-steps .
ARG PYTHON=python:3.11-slim-bookworm

FROM ${PYTHON} AS build
WORKDIR /src
# Dependencies first: they change seldom, and this layer is kept.
COPY requirements/build.txt requirements/steps.txt requirements/
RUN python3 -m venv /tools && /tools/bin/pip install --quiet --no-cache-dir --require-hashes -r requirements/build.txt \
 && python3 -m venv --without-pip /opt/driftsonde \
 && /tools/bin/uv pip install --quiet --no-cache --compile-bytecode --python /opt/driftsonde/bin/python --require-hashes -r requirements/steps.txt
COPY shared shared
COPY services/retrainer services/retrainer
RUN for member in shared services/retrainer; do (cd $member && /tools/bin/hatchling build -t wheel -d /wheels); done \
 && /tools/bin/uv pip install --quiet --no-cache --compile-bytecode --python /opt/driftsonde/bin/python --no-deps /wheels/*.whl

FROM ${PYTHON}
LABEL org.opencontainers.image.title="driftsonde-steps" org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/driftsonde /opt/driftsonde
# As root: what SageMaker mounts below /opt/ml belongs to root. The job names the command.
ENV PATH=/opt/driftsonde/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
