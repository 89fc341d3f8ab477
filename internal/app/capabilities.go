package app

import (
	"context"

	"claude-code-api-service/internal/capability"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/taskapi"
)

// makeCapabilities reads the agents and skills of the CLI's HOME. Without a CLI there
// are none.
func (a *App) makeCapabilities() error {
	if a.pool == nil {
		return nil
	}
	home, err := absolute(a.config.ClaudeHome)
	if err != nil {
		return err
	}
	a.capabilities = capability.New(capability.Options{Home: home, Log: a.log})
	a.later(func(context.Context) error { a.capabilities.Close(); return nil })
	return nil
}

func (a *App) capabilitiesAPI(g *gateway.Gateway) *taskapi.Capabilities {
	api := &taskapi.Capabilities{Gateway: g, Catalogue: nothing{}, Log: a.log}
	if a.capabilities != nil {
		api.Catalogue = a.capabilities
	}
	return api
}

// nothing is what there is without a CLI.
type nothing struct{}

// Allowed implements taskapi.Catalogue.
func (nothing) Allowed(gateway.Permissions, string) capability.Allowed { return capability.Allowed{} }
