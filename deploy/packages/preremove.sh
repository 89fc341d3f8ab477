#!/bin/sh
# Before the files go: not at an upgrade (deb: "upgrade", rpm: 1 or more are left).
set -e
case "$1" in
remove | 0)
	if [ -d /run/systemd/system ]; then
		systemctl disable --now claude-api.socket claude-api.service
	fi
	;;
esac
