-- One schema for each service: nobody reads another's tables.
create schema detector;
create schema retrainer;
create schema notifier;
