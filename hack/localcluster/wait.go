package localcluster

import (
	"context"
	"fmt"
	"time"
)

// eventually calls check until it succeeds. For what tells nobody when it is done, such as a program coming up.
func eventually(ctx context.Context, timeout time.Duration, check func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := check(limited)
		if err == nil {
			return nil
		}
		select {
		case <-limited.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("not within %s: %w", timeout, err)
		case <-ticker.C:
		}
	}
}
