#!/bin/sh
# Imports the dashboards into a Grafana that is not provisioned from files:
#   GRAFANA_URL=https://grafana.example.com GRAFANA_TOKEN=glsa_… grafana/import.sh
# The token belongs to a service account that may write dashboards. A second import overwrites the dashboards.
set -eu
: "${GRAFANA_URL:?set GRAFANA_URL to the address of Grafana, such as http://127.0.0.1:3000}"
: "${GRAFANA_TOKEN:?set GRAFANA_TOKEN to the token of a service account}"

for file in "$(dirname "$0")"/dashboards/*.json; do
    # The token comes from standard input, because the list of processes shows command lines.
    { printf '{"overwrite": true, "dashboard": '; cat "$file"; printf '}'; } |
        curl --silent --show-error --fail --output /dev/null --config /dev/fd/3 --data-binary @- \
             "$GRAFANA_URL/api/dashboards/db" 3<<HEADERS
header = "Authorization: Bearer $GRAFANA_TOKEN"
header = "Content-Type: application/json"
HEADERS
    echo "imported $(basename "$file" .json)"
done
