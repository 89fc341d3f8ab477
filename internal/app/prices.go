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

// dearest tells the admission of the models of the present catalogue.
type dearest struct{ catalogue func() *pricing.Catalogue }

var _ admission.Models = dearest{}

// ContextWindow implements admission.Models.
func (d dearest) ContextWindow(model string) int64 {
	m, _ := d.catalogue().Find(model)
	return int64(m.ContextWindow)
}

// SearchPrice implements admission.Models.
func (d dearest) SearchPrice() int64 { return d.catalogue().SearchPrice() }

// PricedSpeed implements admission.Models.
func (d dearest) PricedSpeed(speed string) bool { return d.catalogue().PricedSpeed(speed) }

// Price implements admission.Models.
func (d dearest) Price(model string, prompt int64, hour bool) (input, output int64, known bool) {
	return d.catalogue().Dearest(model, time.Now(), prompt, hour)
}
