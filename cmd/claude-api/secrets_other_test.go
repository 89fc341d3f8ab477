//go:build !linux

package main

import "testing"

// testSecrets reads /proc.
func testSecrets(t *testing.T, _ *stand) { t.Skip("needs Linux's /proc") }

// testKilledWorkers finds the workers in /proc.
func testKilledWorkers(t *testing.T, _ *stand) { t.Skip("needs Linux's /proc") }
