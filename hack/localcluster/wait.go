// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package localcluster

import (
	"context"
	"errors"
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
		var final finalError
		if errors.As(err, &final) {
			return err
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

// finalError is a failure that waiting will not mend.
type finalError struct{ reason string }

func (e finalError) Error() string { return e.reason }
