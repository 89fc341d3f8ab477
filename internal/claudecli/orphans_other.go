//go:build !linux

package claudecli

func findMarked([]string) []int { return nil }

func endMarked([]string) []int { return nil }

func endChildren(int) bool { return false }
