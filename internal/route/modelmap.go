package route

import (
	"fmt"
	"maps"
	"slices"
)

// CheckModelMap says which name of a model map stands for what is no model: neither
// an alias or an id that resolve knows, nor what may be an id of Anthropic's. It
// would be refused at each request.
func CheckModelMap(modelMap map[string]string, resolve func(model string) (id string, ok bool)) error {
	for _, name := range slices.Sorted(maps.Keys(modelMap)) {
		if _, ok := modelID(modelMap[name], resolve); !ok {
			return fmt.Errorf("%s stands for %q, which is neither an alias nor a model's id", name, modelMap[name])
		}
	}
	return nil
}
