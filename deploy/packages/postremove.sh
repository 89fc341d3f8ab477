#!/bin/sh
# After the files went. Data, settings of the operator's and the user are left.
set -e
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
fi
