"""Tells people about drift over Slack, PagerDuty, e-mail, SNS and webhooks."""
