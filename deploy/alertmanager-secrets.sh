#!/bin/sh
# Prints alertmanager.yml with the two secrets in it that Alertmanager before 0.26 cannot read from files:
#   alertmanager-secrets.sh /etc/alertmanager/alertmanager.yml /etc/alertmanager/secrets > /run/alertmanager/alertmanager.yml
# Ends with 1 and one sentence where any secret is missing or empty.
set -eu
config=$1 secrets=$2

for name in pagerduty_routing_key slack_api_url smtp_password wecom_secret watchdog_url; do
    [ -s "$secrets/$name" ] || {
        echo "alertmanager-secrets.sh: $secrets/$name is missing or empty; write the secret into it, mode 0400" >&2
        exit 1
    }
done

# What sed would take for its own is escaped.
value() { tr -d '\n' < "$secrets/$1" | sed 's/[&|\\]/\\&/g'; }

exec sed -e "s|WECOM_API_SECRET|$(value wecom_secret)|" \
         -e "s|https://watchdog.invalid/|$(value watchdog_url)|" "$config"
