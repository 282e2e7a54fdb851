#!/bin/sh
# Prints alertmanager.yml with the channels that have a secret, and with two secrets that Alertmanager before 0.26 cannot
# read from files:
#   alertmanager-secrets.sh /etc/alertmanager/alertmanager.yml /etc/alertmanager/secrets > /run/alertmanager/alertmanager.yml
# A channel is on when its file is in the folder; the table below lists the names. The links in the messages lead to
# DASHBOARDS_URL and RUNBOOKS_URL if these variables are set. On standard error it names the channels that are on. If
# something is wrong it prints one sentence there and exits with 1.
set -eu
usage="usage: alertmanager-secrets.sh ALERTMANAGER.YML FOLDER_OF_SECRETS"
config=${1:?$usage} secrets=${2:?$usage}
: "${DASHBOARDS_URL:=}" "${RUNBOOKS_URL:=}"

refuse() {
    echo "alertmanager-secrets.sh: $1" >&2
    exit 1
}

[ -d "$secrets" ] || refuse "$secrets is not a folder; create it and write one file per channel into it"

on=" " off=
for each in pagerduty:pagerduty_routing_key slack:slack_api_url feishu:feishu_url dingtalk:dingtalk_url \
            wecom-robot:wecom_robot_url wecom:wecom_secret email:smtp_password watchdog:watchdog_url; do
    file=$secrets/${each#*:}
    if [ ! -e "$file" ]; then
        off="$off ${each%%:*} (${each#*:})"
        continue
    fi
    [ -r "$file" ] || refuse "$file may not be read by $(id -un); change its owner"
    [ -s "$file" ] || refuse "$file is empty; write the secret into it, or delete it"
    on="$on${each%%:*} "
done

# Everything goes to the group chats. Without one, to the first of the other channels that is there.
default=nobody
for each in pagerduty email wecom; do case $on in *" $each "*) default=$each ;; esac; done
case $on in *" slack "* | *" feishu "* | *" dingtalk "* | *" wecom-robot "*) default=chat ;; esac
case $on in *" pagerduty "*) [ $default = pagerduty ] || on="${on}page " ;; esac

case $on in *" feishu "* | *" dingtalk "* | *" wecom-robot "*)
    version=$(amtool --version 2>&1 | sed -n 's/^amtool, version \([0-9]*\.[0-9]*\).*/\1/p')
    case $version in
        0.[0-9] | 0.[12][0-9] | 0.3[01])
            refuse "Feishu, DingTalk and WeCom's group robot need Alertmanager 0.32 or newer, and this is $version; install a newer one, or delete their files from $secrets" ;;
    esac
esac

# Escape the characters that have a meaning for sed.
escaped() { printf %s "$1" | sed 's/[&|\\]/\\&/g'; }
value() { [ ! -e "$secrets/$1" ] || escaped "$(tr -d '\n' < "$secrets/$1")"; }
# The command for sed that puts an address before the end of an annotation; nothing without an address.
link() {
    base=$(escaped "$3")
    [ -z "$base" ] || printf 's|\\((index .Alerts 0)\\)\\{0,1\\}\\.Annotations\\.%s|(reReplaceAll `%s` `%s` &)|g' "$1" "$2" "$base"
}

# Leave out the blocks of channels that are off, the marks of the others, and comments.
text=$(awk -v on="$on" '
    /^ *# if / { keep = 0; for (i = 3; i <= NF; i++) if (index(on, " " $i " ")) keep = 1; skip = !keep; next }
    /^ *# end$/ { skip = 0; next }
    !skip && !/^ *#([^|]|$)/ { sub(/#[|] ?/, ""); print }' "$config")

# The blocks of email and wecom are there only if they are on.
case $text in
    *example.com*) refuse "$secrets/smtp_password is there, but $config still has addresses of example.com; write yours into it" ;;
    *ww0000000000000000*) refuse "$secrets/wecom_secret is there, but $config still has the corp id ww0000000000000000; write your three numbers into it" ;;
esac

echo "alertmanager-secrets.sh: on:${on% }; off:$off; alerts without a route of their own go to $default" >&2
printf '%s\n' "$text" | sed \
    -e "s|receiver: chat\$|receiver: $default|" \
    -e "s|WECOM_API_SECRET|$(value wecom_secret)|" \
    -e "s|https://watchdog.invalid/|$(value watchdog_url)|" \
    -e "$(link dashboard_url '^https*://[^/]*' "${DASHBOARDS_URL%/}")" \
    -e "$(link runbook_url '^.*/' "${RUNBOOKS_URL:+${RUNBOOKS_URL%/}/}")"
