package app

import (
	"fmt"

	"claude-code-api-service/internal/confine"
	"claude-code-api-service/internal/httpserver"
)

// makeConfinement decides how the CLI's processes are confined. The error names
// the setting.
func (a *App) makeConfinement() (err error) {
	mode := a.config.Confine
	if a.confinement, err = confine.New(confine.Mode(mode)); err != nil {
		return fmt.Errorf("--confine: it is %s, but there is %w", mode, err)
	}
	_, what := a.confinement.Holds()
	a.log.Info("what confines the CLI's processes", "is", what)
	return nil
}

// confinementService is what /health tells of it: off where Landlock doesn't hold,
// which degrades nothing.
func confinementService(c confine.Confinement) httpserver.Service {
	landlock, what := c.Holds()
	if !landlock {
		return httpserver.Service{Status: httpserver.StatusOff, Detail: what}
	}
	return httpserver.Service{Status: httpserver.StatusOK, Detail: what}
}
