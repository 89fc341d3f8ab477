package claudecli

import "claude-code-api-service/internal/confine"

// Rules are what a process with a folder may do.
func Rules(options Options, folder string) (confine.Rules, error) {
	return options.rules(options.Path, folder)
}
