package supervise

import (
	"context"
	"errors"
	"runtime"
)

// Install says how the service is to be installed.
type Install struct {
	Options
	// System makes it the machine's and not the user's.
	System bool
	// APIKeyFile is a file with the credential for the upstream; "" for none, or for the
	// system's default place.
	APIKeyFile string
}

var (
	errNoSystem = errors.New("--system: on macOS it is installed for one user")
	errNoInit   = errors.New("neither systemd nor launchd runs this machine: claude-api service start runs the service in the background")
)

// Plan gives what installing it would do. planOnly also plans for a machine that systemd
// doesn't run at the moment.
func (i Install) Plan(planOnly bool) (*Plan, error) {
	if runtime.GOOS == "darwin" {
		if i.System {
			return nil, errNoSystem
		}
		return newLaunchd(i.Options).install(i.APIKeyFile)
	}
	if runtime.GOOS != "linux" || !planOnly && !booted() {
		return nil, errNoInit
	}
	return newSystemd(i.Options, !i.System).install(i.APIKeyFile)
}

// PlanRemoval gives what undoing it would do.
func (i Install) PlanRemoval(ctx context.Context) (*Plan, error) {
	if runtime.GOOS == "darwin" {
		if i.System {
			return nil, errNoSystem
		}
		return newLaunchd(i.Options).uninstall(ctx)
	}
	return newSystemd(i.Options, !i.System).uninstall()
}
