#!/bin/sh
# Prints alertmanager.yml with two secrets filled in that Alertmanager before 0.26 cannot read from files:
#   alertmanager-secrets.sh /etc/alertmanager/alertmanager.yml /etc/alertmanager/secrets > /run/alertmanager/alertmanager.yml
# If a secret is missing or empty, it prints one sentence and exits with 1.
set -eu
config=$1 secrets=$2

for name in pagerduty_routing_key slack_api_url smtp_password wecom_secret watchdog_url; do
    [ -s "$secrets/$name" ] || {
        echo "alertmanager-secrets.sh: $secrets/$name is missing or empty; write the secret into it, mode 0400" >&2
        exit 1
    }
done

# Escape the characters that have a meaning for sed.
value() { tr -d '\n' < "$secrets/$1" | sed 's/[&|\\]/\\&/g'; }

exec sed -e "s|WECOM_API_SECRET|$(value wecom_secret)|" \
         -e "s|https://watchdog.invalid/|$(value watchdog_url)|" "$config"
