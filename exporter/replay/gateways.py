"""The access logs of the gateways that often stand in front of Dify, as they are without any configuration.

docs/other-logs.md has the same options in a block for each gateway; a test compares the two. A line of a program itself
(a start, a connection that failed) matches a pattern without a group, and is ignored.
"""

from collections.abc import Mapping

_TIME = r"(?P<time>\d\d/\w{3}/\d{4}:[^]]+)"
#: Between quotes, with a backslash before a quote.
_TEXT = r'(?:[^"\\]|\\.)*'


def _member(name: str, value: str) -> str:
    """A member of a JSON object, wherever it stands."""
    return rf'(?=.*?"{name}":"?{value})'


def _regex(pattern: str, unit: str) -> tuple[str, Mapping[str, str]]:
    return "regex", {"pattern": pattern, "duration_unit": unit}


def _nginx(format: str) -> tuple[str, Mapping[str, str]]:
    return "nginx", {"format": format}


#: The parser and its options, by the name of the gateway in the documentation.
GATEWAYS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    # docker/rootfs/etc/nginx/conf.d/include/log-proxy.conf and log-standard of Nginx Proxy Manager
    "Nginx Proxy Manager": _nginx(
        "[$time_local] $upstream_cache_status $upstream_status $status - $request_method $scheme $host "
        '"$request_uri" [Client $remote_addr] [Length $body_bytes_sent] [Gzip $gzip_ratio] [Sent-to $server] '
        '"$http_user_agent" "$http_referer"'
    ),
    # Its redirections, its hosts that answer 404, and its default site
    "Nginx Proxy Manager, standard": _nginx(
        '[$time_local] $status - $request_method $scheme $host "$request_uri" [Client $remote_addr] '
        '[Length $body_bytes_sent] [Gzip $gzip_ratio] "$http_user_agent" "$http_referer"'
    ),
    # apisix/cli/config.lua
    "APISIX": _nginx(
        '$remote_addr - $remote_user [$time_local] $http_host "$request" $status $body_bytes_sent $request_time '
        '"$http_referer" "$http_user_agent" $upstream_addr $upstream_status $upstream_response_time '
        '"$upstream_scheme://$upstream_host$upstream_uri"'
    ),
    # pkg/middlewares/accesslog/logger_formatters.go
    "Traefik": _regex(
        r"^\S+ - [^[]* \[" + _TIME + r'\] "(?P<method>\S+) (?P<path>.*?) \S+" (?P<status_code>\d+) (?P<bytes>\d+|-) '
        r".* (?P<duration>\d+)ms$|^(?!\S+ - )",
        "ms",
    ),
    "Traefik, JSON": _regex(
        r'^\{.*"DownstreamContentSize":(?P<bytes>\d+),"DownstreamStatus":(?P<status_code>\d+),"Duration":'
        r'(?P<duration>\d+),.*"RequestMethod":"(?P<method>[^"]*)","RequestPath":"(?P<path>[^"]*)".*'
        r'"StartUTC":"(?P<time>[^"]*)"|^\{"level":"\w+",',
        "ns",
    ),
    # caddyconfig, modules/caddyhttp/server.go (logRequest)
    "Caddy": _regex(
        r'^\{"level":"\w+","ts":"?(?P<time>[^,"]+)"?,"logger":"http\.log\.access[^"]*",.*?"method":"(?P<method>[^"]*)"'
        r',.*?"uri":"(?P<path>[^"]*)".*"duration":(?P<duration>[\d.e-]+),"size":(?P<bytes>\d+),'
        r'"status":(?P<status_code>\d+)|^\{"level":"\w+","ts":"?[^,"]+"?,(?!"logger":"http\.log\.access)',
        "s",
    ),
    # modules/logging/encoders.go: the level is coloured
    "Caddy, console": (
        "regex",
        {
            "pattern": r"^(?P<time>\d{4}/\d\d/\d\d [\d:.]+)\t\S+\thttp\.log\.access\S*\t.*?"
            r'"method": "(?P<method>[^"]*)".*?"uri": "(?P<path>[^"]*)".*"duration": (?P<duration>[\d.e-]+), '
            r'"size": (?P<bytes>\d+), "status": (?P<status_code>\d+)'
            r"|^\d{4}/\d\d/\d\d [\d:.]+\t\S+\t(?!http\.log\.access)",
            "duration_unit": "s",
            "time_format": "%Y/%m/%d %H:%M:%S.%f",
        },
    ),
    # Envoy's own text, and that of Istio, which has three more words (pilot/pkg/model/telemetry_logging.go)
    "Envoy": _regex(
        r'^\[(?P<time>\d{4}-\S+)\] "(?P<method>\S+) (?P<path>\S+) \S+" (?P<status_code>\d+) \S+ '
        r'(?:\S+ \S+ "[^"]*" )?\d+ (?P<bytes>\d+) (?P<duration>\d+) (?P<time_to_first_byte>\d+|-) '
        r"|^\[?\d{4}-\d\d-\d\d[T ][\d:.]+(?:\]\[|Z\t)",
        "ms",
    ),
    # The same values in JSON: Istio, Higress, Envoy Gateway
    "Envoy, JSON": _regex(
        r"^\{"
        + _member("bytes_sent", r"(?P<bytes>\d+)")
        + _member("duration", r"(?P<duration>\d+)")
        + _member("method", r'(?P<method>[^",]*)')
        + _member("(?:path|x-envoy-origin-path)", r'(?P<path>[^",]*)')
        + _member("response_code", r"(?P<status_code>\d+)")
        + _member("start_time", r'(?P<time>[^"]*)')
        + _member("(?:x-envoy-)?upstream.service.time", r'(?P<time_to_first_byte>[^",]*)'),
        "ms",
    ),
    # option httplog and option httpslog: doc/configuration.txt, 8.2.3
    "HAProxy": _regex(
        r"^\S+ \[" + _TIME + r"\] \S+ \S+ (?:-?\d+/){3}(?P<time_to_first_byte>-?\d+)/\+?(?P<duration>-?\d+) "
        r'(?P<status_code>-?\d+) \+?(?P<bytes>\d+) [^"]*"(?:(?P<method>[A-Z]+) (?P<path>[^ "]+)|<BADREQ>)'
        r"|^\S+ \[[^]]+\] \S+: [A-Z]|^\[(?:NOTICE|WARNING|ALERT)\]|^(?:Proxy|Server|Health check|[Bb]ackend) ",
        "ms",
    ),
    # LogFormat "%h %l %u %t \"%r\" %>s %B \"%{Referer}i\" \"%{User-Agent}i\" rt=%D ttfb=%^FB"
    "Apache httpd": _regex(
        r"^\S+ - [^[]*\[" + _TIME + r'\] "(?:(?P<method>\S+) (?P<path>\S+) HTTP/[\d.]+|' + _TEXT + r')" '
        r'(?P<status_code>\d+) (?P<bytes>\d+|-) "' + _TEXT + '" "' + _TEXT + '" '
        r"rt=(?P<duration>\d+) ttfb=(?P<time_to_first_byte>\d+|-)$|^\[\w{3} \w{3} \d\d [\d:.]+ \d{4}\] \[",
        "us",
    ),
    # docs.aws.amazon.com, "Access log entries" of the Application Load Balancer
    "AWS Application Load Balancer": _regex(
        r"^(?:https?|h2|wss?|grpcs) (?P<time>\S+) \S+ \S+ \S+ \S+ (?P<time_to_first_byte>[\d.]+|-1) \S+ "
        r'(?P<status_code>\d+|-) \S+ \d+ (?P<bytes>\d+) "(?P<method>\S+) (?P<path>\S+) ',
        "s",
    ),
    # developers.cloudflare.com, Logpush, data set "HTTP requests"
    "Cloudflare Logpush": _regex(
        r"^\{"
        + _member("ClientRequestMethod", r'(?P<method>[^"]*)')
        + _member("ClientRequest(?:URI|Path)", r'(?P<path>[^"]*)')
        + _member("EdgeResponseStatus", r"(?P<status_code>\d+)")
        + _member("EdgeStartTimestamp", r'(?P<time>[^",}]*)')
        + rf"(?:{_member('EdgeResponseBytes', '(?P<bytes>[0-9]+)')})?"
        + rf"(?:{_member('EdgeTimeToFirstByteMs', '(?P<time_to_first_byte>[0-9]+)')})?",
        "ms",
    ),
}
