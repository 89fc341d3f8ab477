package claudecli

import "strings"

// pinned are the settings that no file of a project may change: where the process's
// calls go, and by which credential. Settings of this kind win over those of files,
// which the CLI reads again whenever they change (seen with both versions).
func (a *Agent) pinned() *settings {
	env := map[string]string{}
	for _, name := range elsewhere {
		env[name] = ""
	}
	for _, pair := range a.options.upstreamVariables() {
		name, value, _ := strings.Cut(pair, "=")
		env[name] = value
	}
	// A proxy that the operator lets through is for the rest of the network.
	for _, name := range []string{"NO_PROXY", "no_proxy"} {
		env[name] = strings.TrimPrefix(env[name]+",127.0.0.1", ",")
	}
	return &settings{Env: env}
}

// elsewhere are the variables by which the CLI would send its calls another way.
var elsewhere = []string{
	envBaseURL, "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", envHeaders, "ANTHROPIC_UNIX_SOCKET",
	"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy",
	"CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX", "CLAUDE_CODE_USE_FOUNDRY",
}
