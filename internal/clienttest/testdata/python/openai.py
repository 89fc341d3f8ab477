"""Stands in for OpenAI's package where that can't be installed: as much of it as the
examples use, with the standard library."""

import json
import urllib.request


class _Object:
    def __init__(self, members):
        for name, value in members.items():
            setattr(self, name, _wrap(value))

    def __getattr__(self, name):  # the package's own objects have None for what is absent
        return None


def _wrap(value):
    if isinstance(value, dict):
        return _Object(value)
    if isinstance(value, list):
        return [_wrap(v) for v in value]
    return value


class _Completions:
    def __init__(self, client):
        self._client = client

    def create(self, *, extra_body=None, **body):
        request = urllib.request.Request(
            self._client.base_url + "/chat/completions",
            data=json.dumps({**body, **(extra_body or {})}).encode(),
            headers={"Authorization": "Bearer " + self._client.api_key, "Content-Type": "application/json"},
        )
        answer = urllib.request.urlopen(request)
        if body.get("stream"):
            return self._chunks(answer)
        with answer:
            return _wrap(json.load(answer))

    @staticmethod
    def _chunks(answer):
        with answer:
            for line in answer:
                data = line.decode().strip()
                if data.startswith("data: ") and data != "data: [DONE]":
                    yield _wrap(json.loads(data.removeprefix("data: ")))


class _Chat:
    def __init__(self, client):
        self.completions = _Completions(client)


class OpenAI:
    def __init__(self, *, base_url, api_key):
        self.base_url, self.api_key = base_url.rstrip("/"), api_key
        self.chat = _Chat(self)
