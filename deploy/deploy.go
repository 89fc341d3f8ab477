// Package deploy holds what service managers read of the service. The packages install
// these files as they are; claude-api service install writes them with the paths of its
// machine.
package deploy

import _ "embed" // the files

// Program is the path of claude-api in the units.
const Program = "/usr/bin/claude-api"

// The units of systemd, valid as they are for the program at Program.
var (
	//go:embed systemd/claude-api.service
	SystemUnit string
	//go:embed systemd/claude-api.socket
	SystemSocket string
	// SystemUser is the user of SystemUnit, as sysusers.d reads it.
	//go:embed systemd/claude-api.sysusers
	SystemUser string
	//go:embed systemd/claude-api.user.service
	UserUnit string
)

// Config is the configuration file of SystemUnit, /etc/claude-api/config.yaml.
//
//go:embed packages/config.yaml
var Config string

// LaunchAgent is the property list for launchd, a text/template over Agent.
//
//go:embed launchd/claude-api.plist
var LaunchAgent string
