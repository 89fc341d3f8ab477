package admission

// What a request reserves at least of a budget of tokens, beside its body and its
// answer. A smaller budget serves nothing on that path.
const (
	LeastDirect = addedByAPI
	LeastCLI    = addedByAPI + addedByCLI
)
