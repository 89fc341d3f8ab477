package app

import (
	"fmt"
	"os"
	"time"

	"claude-code-api-service/internal/admission"
	"claude-code-api-service/internal/pricing"
)

// readPrices gives the models and prices that are built in, with what the
// operator's file, unless path is "", says otherwise.
func readPrices(path string) (*pricing.Catalogue, error) {
	if path == "" {
		return pricing.New(pricing.Options{})
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("--prices: %w", err)
	}
	catalogue, err := pricing.New(pricing.Options{Override: data})
	if err != nil {
		return nil, fmt.Errorf("--prices: %s: %w", path, err)
	}
	return catalogue, nil
}

// dearest gives the prices that a request for a model costs at most.
func dearest(catalogue *pricing.Catalogue) func(id string) (admission.Model, bool) {
	return func(id string) (admission.Model, bool) {
		input, output, priced := catalogue.Dearest(id, time.Now())
		m, _ := catalogue.Find(id)
		return admission.Model{ContextWindow: int64(m.ContextWindow), InputPrice: input, OutputPrice: output}, priced
	}
}
