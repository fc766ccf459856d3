"""Asks the admin port of the service that runs here, for a container, which has no curl.

The first argument names the environment variable that has the port, the second is the path, the third a body if any:

docker-compose exec order python -m shared.host.admin.ask LOANS_ADMIN_PORT /admin/sagas
docker-compose exec order python -m shared.host.admin.ask LOANS_ADMIN_PORT /admin/sagas/retry '{"operator": "ada"}'
"""

import json
import os
import sys
import urllib.error
import urllib.request

from shared.core.printable import printable


def ask(port: int, path: str, body: str | None = None) -> tuple[bool, str]:
    """Send a request, a POST if it has a body. Return whether it succeeded, and the answer as JSON or the reason."""
    data = None if body is None else body.encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, headers)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
            return True, json.dumps(json.load(answer), indent=2, ensure_ascii=False)
    except urllib.error.HTTPError as refused:
        return False, str(json.load(refused)["detail"])
    except urllib.error.URLError as error:
        return False, f"the service does not answer on port {port}: {error.reason}"


if __name__ == "__main__":
    done, text = ask(int(os.environ[sys.argv[1]]), *sys.argv[2:4])
    print(*map(printable, text.split("\n")), sep="\n", file=sys.stdout if done else sys.stderr)
    sys.exit(not done)
