"""Tells people about drift over Slack, SNS and webhooks."""
