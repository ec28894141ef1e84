"""What the acceptance tests share: an example's salvor.yaml as it stands, moved to a test's own
places, and an application that answers on a health URL."""
import http.server
import pathlib
import sys
import threading

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "test" / "live"))

UNATTENDED = {"SALVOR_ALLOW_UNATTENDED_RESTORE": "1"}


def configure(place, example, **replaced):
    """Copies examples/<example> into the place; its repository and password file become the
    place's own, and so does each text that `replaced` names by its old value."""
    text = (ROOT / "examples" / example).read_text(encoding="utf-8")
    password = place.root / "password"
    password.write_text(place.env.pop("SALVOR_PASSWORD") + "\n", encoding="utf-8")
    password.chmod(0o600)
    lines = []
    for line in text.splitlines():
        if line.startswith("  url: /var/backups/"):
            line = f"  url: {place.repo}"
        line = line.replace("/etc/salvor/password", str(password))
        lines.append(line)
    text = "\n".join(lines) + "\n"
    for old, new in replaced.items():
        if old not in text:
            raise AssertionError(f"{example} does not say {old}")
        text = text.replace(old, str(new))
    (place.data / "salvor.yaml").write_text(text, encoding="utf-8")


class Application:
    """Answers 200 on any path while `well()` says so, else 503."""

    def __init__(self, well):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200 if well() else 503)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.http.server_port
        self.thread = threading.Thread(target=self.http.serve_forever, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.http.shutdown()
        self.http.server_close()
