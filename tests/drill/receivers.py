"""Slack, PagerDuty, WeCom, three group robots, a dead man's switch and a mailbox on this machine, as strict as the real."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from aiosmtpd.controller import Controller
from msgspec import Struct

from tests.system.programs import free_port

ROUTING_KEY = "0123456789abcdef0123456789abcdef"
CORP_ID, CORP_SECRET, TOKEN = "ww0123456789abcdef", "a|b&c", "a-token"
#: The word that the robots of Feishu and DingTalk are set to ask for.
KEYWORD = "Dify"

Json = dict[str, Any]


class RefusedError(Exception):
    """What the receiver finds wrong with a body."""


class Message(Struct, frozen=True):
    """What arrived where and when (monotonic seconds). `kind` is `firing` or `resolved`, `key` PagerDuty's own."""

    at: float
    receiver: str
    kind: str
    text: str
    key: str = ""


class Receivers:
    """`messages` are those accepted, `refused` what was wrong with the others. Receivers in `broken` answer 503."""

    def __init__(self, notify: Callable[[Message], None] = lambda _: None) -> None:
        self.messages: list[Message] = []
        self.refused: list[str] = []
        self.broken: set[str] = set()
        self._notify = notify
        self.address = ""
        self.mailbox = ""

    def accept(self, receiver: str, kind: str, text: str, key: str = "") -> None:
        message = Message(time.monotonic(), receiver, kind, text, key)
        self.messages.append(message)
        if receiver != "dead man's switch":
            self._notify(message)

    def find(self, receiver: str, kind: str, text: str, since: float = 0.0) -> Message | None:
        """The first such message with this text in it."""
        for each in list(self.messages):
            if (each.receiver, each.kind) == (receiver, kind) and text in each.text and each.at >= since:
                return each
        return None

    async def handle_DATA(self, server: object, session: object, envelope: Any) -> str:  # noqa: N802 (aiosmtpd's name)
        from email import message_from_bytes
        from email.policy import default

        mail = message_from_bytes(envelope.content, policy=default)
        body = mail.get_body(("plain", "html"))
        subject = str(mail["Subject"])
        kind = "resolved" if "RESOLVED" in subject else "firing"
        self.accept("e-mail", kind, f"{subject} {body.get_content() if body else ''}")
        return "250 OK"


def slack(receivers: Receivers, body: Json) -> str:
    """An incoming webhook: api.slack.com/messaging/webhooks, and the legacy attachments that Alertmanager sends."""
    attachments = body.get("attachments")
    _demand(isinstance(attachments, list) and 0 < len(attachments) <= 100, "no_attachments")
    for each in attachments:
        _demand(bool(each.get("fallback") or each.get("text")), "no_text")
        _demand(len(each.get("text", "")) <= 8000, "msg_too_long")
        _demand(each.get("title_link", "http://").startswith("http"), "invalid title_link")
        _demand(each["color"] in {"good", "warning", "danger"}, "invalid color")
        kind = "resolved" if each["title"].startswith("RESOLVED") else "firing"
        receivers.accept("Slack", kind, f"{each['title']} {each['text']}")
    return "ok"


def pagerduty(receivers: Receivers, body: Json) -> str:
    """Events API v2, POST /v2/enqueue: developer.pagerduty.com/docs/send-alert-event."""
    _demand(body.get("routing_key") == ROUTING_KEY, "routing_key")
    _demand("service_key" not in body, "service_key belongs to v1")
    _demand(0 < len(body.get("dedup_key", "")) <= 255, "dedup_key")
    _demand(body.get("event_action") in {"trigger", "acknowledge", "resolve"}, "event_action")
    payload = body.get("payload") or {}
    if body["event_action"] == "trigger":
        _demand(0 < len(payload.get("summary", "")) <= 1024, "payload.summary")
        _demand(bool(payload.get("source")), "payload.source")
        _demand(payload.get("severity") in {"critical", "error", "warning", "info"}, "payload.severity")
        _demand(all(link["href"].startswith("http") for link in body.get("links", ())), "links.href")
    kind = "resolved" if body["event_action"] == "resolve" else "firing"
    receivers.accept("PagerDuty", kind, payload.get("summary", ""), body["dedup_key"])
    return json.dumps({"status": "success", "message": "Event processed", "dedup_key": body["dedup_key"]})


def wecom(receivers: Receivers, body: Json) -> str:
    """An application's message: developer.work.weixin.qq.com, message/send. Refusals are HTTP 200 with a code."""
    _demand(any(body.get(name) for name in ("touser", "toparty", "totag")), "81013 no receiver")
    _demand(str(body.get("agentid", "")).isdigit(), "40056 invalid agentid")
    kind = body.get("msgtype")
    _demand(kind in {"text", "markdown"}, "40008 invalid msgtype")
    content = body[kind].get("content", "")
    _demand(0 < len(content.encode()) <= 2048, "45002 content size out of limit")
    receivers.accept("WeCom", "resolved" if "RESOLVED" in content else "firing", content)
    return '{"errcode": 0, "errmsg": "ok"}'


def feishu_robot(receivers: Receivers, body: Json) -> str:
    """A custom bot with a keyword: open.feishu.cn/document, bot-v3, custom bot guide. A request may have 20 KB."""
    _demand(body.get("msg_type") == "text", "9499 Bad Request: msg_type")
    text = (body.get("content") or {}).get("text")
    _robot(receivers, "Feishu", body, text, "9499", 20_000)
    _demand(KEYWORD in text, "19024 Key Words Not Found")
    return '{"code": 0, "data": {}, "msg": "success", "StatusCode": 0, "StatusMessage": "success"}'


def dingtalk_robot(receivers: Receivers, body: Json) -> str:
    """A custom robot with a keyword: open.dingtalk.com/document, custom robot access. A request may have 20,000 bytes."""
    markdown = body.get("markdown") or {}
    _demand(body.get("msgtype") == "markdown", "40035 msgtype")
    _demand(bool(markdown.get("title")) and isinstance(markdown["title"], str), "40035 title")
    _demand(KEYWORD in f"{markdown['title']}{markdown.get('text')}", "310000 keywords not in content")
    _robot(receivers, "DingTalk", body, markdown.get("text"), "40035", 20_000)
    return '{"errcode": 0, "errmsg": "ok"}'


def wecom_robot(receivers: Receivers, body: Json) -> str:
    """A group robot: developer.work.weixin.qq.com/document/path/91770. The content may have 4096 bytes."""
    _demand(body.get("msgtype") == "markdown", "40008 invalid message type")
    content = (body.get("markdown") or {}).get("content")
    _robot(receivers, "WeCom robot", content, content, "40058", 4096)
    return '{"errcode": 0, "errmsg": "ok"}'


def _robot(receivers: Receivers, name: str, limited: object, text: object, code: str, limit: int) -> None:
    _demand(isinstance(text, str) and bool(text), f"{code} the text is no string")
    size = len(limited.encode() if isinstance(limited, str) else json.dumps(limited, ensure_ascii=False).encode())
    _demand(size <= limit, f"{code} {size} bytes")
    receivers.accept(name, "resolved" if "RESOLVED" in str(text) else "firing", str(text))


def watchdog(receivers: Receivers, body: Json) -> str:
    """A dead man's switch: that it is asked at all."""
    _demand(body["version"] == "4", "version")
    receivers.accept("dead man's switch", body["status"], "Watchdog")
    return "OK"


_RECEIVERS = {
    "/slack": ("Slack", slack),
    "/v2/enqueue": ("PagerDuty", pagerduty),
    "/message/send": ("WeCom", wecom),
    "/open-apis/bot/v2/hook/a-token": ("Feishu", feishu_robot),
    "/robot/send": ("DingTalk", dingtalk_robot),
    "/cgi-bin/webhook/send": ("WeCom robot", wecom_robot),
    "/watchdog": ("dead man's switch", watchdog),
}

#: Receivers that have a token in the query: its name, and the code if it is wrong.
_TOKENS = {
    "WeCom": ("access_token", 40014),
    "DingTalk": ("access_token", 300005),
    "WeCom robot": ("key", 93000),
}
#: Receivers that refuse a message with status 200, by the member that holds the code.
_CODES = {"WeCom": "errcode", "DingTalk": "errcode", "WeCom robot": "errcode", "Feishu": "code"}


def _demand(condition: bool, what: str) -> None:
    if not condition:
        raise RefusedError(what)


@contextmanager
def receiving(notify: Callable[[Message], None] = lambda _: None) -> Iterator[Receivers]:
    """Serves until left; addresses are on the object."""
    receivers = Receivers(notify)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(receivers))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    mailbox = Controller(receivers, hostname="127.0.0.1", port=free_port())
    mailbox.start()
    receivers.address = f"http://127.0.0.1:{server.server_port}"
    receivers.mailbox = f"127.0.0.1:{mailbox.port}"
    try:
        yield receivers
    finally:
        mailbox.stop()
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(receivers: Receivers) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """WeCom's token."""
            query = parse_qs(urlsplit(self.path).query)
            good = query.get("corpid") == [CORP_ID] and query.get("corpsecret") == [CORP_SECRET]
            answer = (
                {"errcode": 0, "access_token": TOKEN} if good else {"errcode": 40001, "errmsg": "invalid credential"}
            )
            self._answer(200, json.dumps(answer))

        def do_POST(self) -> None:
            url = urlsplit(self.path)
            body = self.rfile.read(int(self.headers["Content-Length"]))
            name, receive = _RECEIVERS[url.path]
            if name in receivers.broken:
                return self._answer(503, "out of order")
            try:
                if name in _TOKENS:
                    member, wrong = _TOKENS[name]
                    _demand(parse_qs(url.query).get(member) == [TOKEN], f"{wrong} invalid {member}")
                return self._answer(202 if name == "PagerDuty" else 200, receive(receivers, json.loads(body)))
            except (RefusedError, LookupError, ValueError) as error:
                receivers.refused.append(f"{name}: {error}")
                code = str(error).partition(" ")[0]
                if name in _CODES:
                    return self._answer(200, json.dumps({_CODES[name]: int(code) if code.isdigit() else 1}))
                return self._answer(400, str(error))

        def _answer(self, status: int, body: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler
