package config_test

import (
	"slices"
	"testing"

	"claude-code-api-service/internal/config"
)

func TestNeedStart(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(c *config.Config)
		want   []string
	}{
		"nothing":       {func(*config.Config) {}, nil},
		"what is live":  {func(c *config.Config) { c.Strict, c.LogLevel, c.Anthropic.APIKey = true, "debug", "k" }, nil},
		"an address":    {func(c *config.Config) { c.Listen = "127.0.0.1:1" }, []string{"--listen"}},
		"the data":      {func(c *config.Config) { c.DataDir, c.DBPath = "d", "p" }, []string{"--data-dir", "--db-path"}},
		"the socket":    {func(c *config.Config) { c.SocketMode = "0660" }, []string{"--socket-mode"}},
		"the pool":      {func(c *config.Config) { c.MaxWorkers, c.ClaudeEnv = 9, []string{"TZ"} }, []string{"--claude-env", "--max-workers"}},
		"a named flag":  {func(c *config.Config) { c.LogJSON = true }, []string{"--log-json"}},
		"TLS":           {func(c *config.Config) { c.TLSCert, c.TLSKey = "a", "b" }, []string{"--tls-cert"}},
		"a certificate": {func(c *config.Config) { c.TLSCert = "" }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			started, c := valid(), valid()
			tt.change(&c)
			got := c.NeedStart(&started)
			slices.Sort(got)
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestChanged(t *testing.T) {
	former, c := valid(), valid()
	if got := c.Changed(&former); len(got) != 0 {
		t.Errorf("nothing has changed, and it says %q", got)
	}
	c.Strict, c.Dashboard, c.MaxWorkers, c.Anthropic.APIKey, c.WebhookSecret = !c.Strict, !c.Dashboard, 9, "k", "s"
	got := c.Changed(&former)
	slices.Sort(got)
	// Not what only a start can change, and never a secret.
	want := []string{"--dashboard", "--strict", "ANTHROPIC_API_KEY, ANTHROPIC_AUTH_TOKEN, ANTHROPIC_BASE_URL", "CLAUDE_API_WEBHOOK_SECRET"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Every setting has its flag's name.
func TestNeedStartNamesFlags(t *testing.T) {
	started, c := valid(), valid()
	c.Port, c.ClaudePath, c.ClaudeHome, c.PoolReuse, c.SDKMaxRetries = 1, "x", "y", "never", 7
	want := []string{"--port", "--claude-path", "--claude-home", "--pool-reuse", "--sdk-max-retries"}
	for _, name := range want {
		if !slices.Contains(c.NeedStart(&started), name) {
			t.Errorf("%s isn't among %q", name, c.NeedStart(&started))
		}
	}
}
