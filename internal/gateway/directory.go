package gateway

import (
	"path/filepath"
	"slices"
	"strings"

	"claude-code-api-service/internal/apierror"
)

// Directory gives the folder in which a task of the caller works, without links, or
// refuses it: it must be one that the caller's profile allows, by its name and where
// it leads to, and it must lead below one of the Roots. The refusal is the same
// whether there is such a folder or not.
func (g *Gateway) Directory(caller *Caller, path string) (string, error) {
	refuse := func(why string) error {
		return &apierror.Error{Category: apierror.Permission, Param: "working_directory", Message: "working_directory: " + why}
	}
	if !filepath.IsAbs(path) || filepath.Clean(path) != path {
		return "", refuse("must be an absolute path, without . or .. in it and without a slash at its end")
	}
	if !caller.Permissions.Directory(path) {
		return "", refuse("isn't a folder that the key's profile allows")
	}
	if len(g.Roots) == 0 {
		return "", refuse("no folder is configured in which tasks may work")
	}
	target, err := filepath.EvalSymlinks(path)
	if err != nil || !slices.ContainsFunc(g.Roots, func(root string) bool { return within(target, root) }) ||
		!slices.ContainsFunc(caller.Permissions.WorkingDirectories, func(allowed string) bool {
			if allowed == All {
				return true
			}
			allowed, err := filepath.EvalSymlinks(allowed)
			return err == nil && within(target, allowed)
		}) {
		return "", refuse("isn't there, or isn't below a folder in which tasks may work")
	}
	return target, nil
}

// within says whether a path is a folder or below it. Both are clean.
func within(path, root string) bool {
	return path == root || strings.HasPrefix(path, strings.TrimSuffix(root, "/")+"/")
}
