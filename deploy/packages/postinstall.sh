#!/bin/sh
# After the files are there. Nothing is started: it needs a credential or a login first.
set -e
if command -v systemd-sysusers >/dev/null; then
	systemd-sysusers /usr/lib/sysusers.d/claude-api.conf
fi
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	# An upgrade of one that runs. With claude-api.socket nobody is refused meanwhile.
	systemctl try-restart claude-api.service
fi
