//go:build !linux

package doctor

// What only Linux tells without a program of its own.

func networkFileSystem(string) string { return "" }

func processLimit() uint64 { return 0 }

func memoryBytes() uint64 { return 0 }
