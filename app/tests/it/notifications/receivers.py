"""A mail server and a web server that write down what they take. Arguments: FOLDER smtp|smtps|https PORT

smtp: STARTTLS and a password are needed. Both use FOLDER/tls.crt and tls.key; while FOLDER/refuse is there they
take nothing. What is taken: FOLDER/taken, one JSON document a line.
"""
import hashlib, hmac, http.server, json, os, ssl, sys, time
from email import message_from_bytes, policy

folder, kind, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(f"{folder}/tls.crt", f"{folder}/tls.key")


def take(document):
    with open(f"{folder}/taken", "a") as file:
        file.write(json.dumps(document) + "\n")
        file.flush()
        os.fsync(file.fileno())


def refuses():
    return os.path.exists(f"{folder}/refuse")


def part(mail, kind):
    found = mail.get_body((kind,))
    return found.get_content() if found else None


class Mail:
    async def handle_DATA(self, server, session, envelope):
        if refuses():
            return "451 4.3.0 the spool is full"
        mail = message_from_bytes(envelope.content, policy=policy.default)
        take({
            "from": envelope.mail_from, "to": envelope.rcpt_tos, "subject": mail["Subject"],
            "id": mail["Message-ID"], "text": part(mail, "plain"), "html": part(mail, "html"), "tls": kind == "smtps" or session.ssl is not None,
        })
        return "250 taken"


class Post(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        key = open(f"{folder}/key", "rb").read()
        signature = "sha256=" + hmac.new(key, body, hashlib.sha256).hexdigest()
        good = hmac.compare_digest(signature, self.headers.get("Simsim-Signature", ""))
        status = 503 if refuses() else 204 if good else 401
        if status == 204:
            take({"path": self.path, "id": self.headers["Simsim-Message"], "body": json.loads(body)})
        self.send_response(status)
        self.end_headers()

    def log_message(self, *_):
        pass


if kind == "https":
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Post)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    print("ready", flush=True)
    server.serve_forever()
else:
    from aiosmtpd.controller import Controller
    from aiosmtpd.smtp import AuthResult

    def knows(server, session, envelope, mechanism, data):
        good = data.login == b"backup" and data.password == b"open sesame 4711"
        return AuthResult(success=good, handled=False)

    tls = {"ssl_context": context} if kind == "smtps" else {"tls_context": context, "require_starttls": True}
    Controller(
        Mail(), hostname="127.0.0.1", port=port, authenticator=knows, auth_required=True,
        auth_require_tls=kind != "smtps", **tls,
    ).start()
    print("ready", flush=True)
    while True:
        time.sleep(3600)
