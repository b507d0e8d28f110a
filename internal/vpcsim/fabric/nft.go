package fabric

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"

	"github.com/vishvananda/netns"
)

// runNFT runs nft inside a namespace, with a transaction on its standard input.
func runNFT(ctx context.Context, nft string, ns netns.NsHandle, input string, args ...string) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	err := in(ns, func() error {
		cmd := exec.CommandContext(ctx, nft, args...)
		cmd.Stdin = strings.NewReader(input)
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		return cmd.Run()
	})
	if err != nil {
		text := strings.TrimSpace(stderr.String())
		if len(text) > 2000 {
			text = text[:2000]
		}
		return nil, fmt.Errorf("run %s %s: %w: %s", nft, strings.Join(args, " "), err, text)
	}
	return stdout.Bytes(), nil
}
