//go:build !linux

package claudecli

func endMarked([]string) []int { return nil }
