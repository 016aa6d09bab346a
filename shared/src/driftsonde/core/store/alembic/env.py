"""Runs a service's revisions on the connection that `Database.migrate` holds."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=False)
context.run_migrations()
