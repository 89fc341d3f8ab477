package app

import (
	"context"
	"time"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/cluster"
)

// sharedInterval is how often a node asks whether accounts changed that hears of it
// anyway. There may be many nodes.
const sharedInterval = time.Second

// bus brings word to all nodes of a database: a *postgres.DB.
type bus interface {
	Notify(ctx context.Context, channel, payload string) error
	Subscribe(channel string, fn func(payload string)) (stop func())
}

// join makes this process a member of the nodes that share its database, before
// whatever needs to be one. A database in a file is this process's alone.
func (a *App) join(ctx context.Context) error {
	store, shared := a.store.Store.(cluster.Store)
	if !shared {
		a.member = cluster.Local()
		return nil
	}
	a.bus, _ = a.store.Store.(bus)
	var err error
	if a.member, err = cluster.Join(ctx, cluster.Options{Store: store, Log: a.log}); err != nil {
		return err
	}
	a.later(a.member.Leave)
	return nil
}

// makeAuthenticator makes what knows the keys, and has it hear of their changes.
func (a *App) makeAuthenticator() {
	options := apikey.AuthenticatorOptions{Store: a.store, Logger: a.log}
	if a.bus != nil {
		options.Interval = sharedInterval
	}
	a.authenticator = apikey.NewAuthenticator(options)
	if a.bus != nil {
		stop := a.bus.Subscribe(apikey.Channel, func(string) { a.authenticator.Look() })
		a.later(func(context.Context) error { stop(); return nil })
	}
}
