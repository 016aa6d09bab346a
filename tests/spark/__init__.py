"""A Spark cluster on this machine: a driver and two worker processes, each with a Java process and Python processes of its own."""
