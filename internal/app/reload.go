package app

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"claude-code-api-service/internal/config"
)

// reload is what SIGHUP asks for.
func (a *App) reload(ctx context.Context, read func() (*config.Config, error)) {
	c, err := read()
	if err == nil {
		err = a.Reload(ctx, c)
	}
	if err != nil {
		a.log.Error("the configuration can't be used: the former one stays", "error", err)
	}
}

// Reload makes the service go on with another configuration, which must be valid
// and belongs to the App from here on. Requests that run are served to their end by
// the former one. On an error nothing has changed. What only a start can change
// stays, and the log names it.
func (a *App) Reload(ctx context.Context, c *config.Config) error {
	a.reloading.Lock()
	defer a.reloading.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	former := a.now().config
	if c.Anthropic.Empty() != former.Anthropic.Empty() {
		if c.Anthropic.Empty() {
			return errors.New("ANTHROPIC_API_KEY, ANTHROPIC_AUTH_TOKEN: there is none any more")
		}
		a.log.Warn("a new start is needed for a first ANTHROPIC_API_KEY or ANTHROPIC_AUTH_TOKEN")
		c.Anthropic = former.Anthropic
	}
	// All that can fail comes first.
	level, err := readLevel(c.LogLevel)
	if err != nil {
		return err
	}
	catalogue, err := readPrices(c.Prices)
	if err != nil {
		return err
	}
	n, err := a.generate(c, catalogue)
	if err != nil {
		return err
	}
	useCertificate := func() bool { return false }
	if a.certificate != nil && c.TLS() {
		if useCertificate, err = a.certificate.prepare(c.TLSCert, c.TLSKey); err != nil {
			return err
		}
	}
	if c.WebhookURL != former.WebhookURL || c.WebhookSecret != former.WebhookSecret {
		if err := a.webhook.Aim(c.WebhookURL.Reveal(), c.WebhookSecret.Reveal()); err != nil {
			return fmt.Errorf("--webhook-url, CLAUDE_API_WEBHOOK_SECRET: %w", err)
		}
	}

	if a.level != nil {
		a.level.Set(level)
	}
	useCertificate()
	a.adopt(n)
	a.server.Replace(n.serverOptions())
	rotated := c.Anthropic != former.Anthropic
	if rotated && a.pool != nil {
		options := a.pool.Process()
		options.BaseURL, options.APIKey, options.AuthToken = c.Anthropic.BaseURL, c.Anthropic.APIKey.Reveal(), c.Anthropic.AuthToken.Reveal()
		a.pool.Renew(options)
	}
	a.log.Info("the configuration is read again", "new_credential", rotated)
	if names := c.NeedStart(a.config); len(names) > 0 {
		a.log.Warn("a new start is needed for these settings", "settings", strings.Join(names, " "))
	}
	return nil
}
