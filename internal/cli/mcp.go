// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"io"
	"log/slog"

	"github.com/go-logr/logr"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/spf13/cobra"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/valetkey/valetkey/internal/mcp"
)

func (s *shell) mcp() *cobra.Command {
	return &cobra.Command{Use: "mcp", Short: "Serve the Model Context Protocol on standard input and output, for an agent", Args: cobra.NoArgs,
		Long: "Serve the Model Context Protocol on standard input and output, so that an agent lists what it may ask for, asks, waits, and learns why it was refused.\n" +
			"It acts with the rights of the kubeconfig it is given, in the namespace of --namespace or of the kubeconfig. No answer holds a credential.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			log.SetLogger(logr.FromSlogHandler(slog.NewTextHandler(s.ErrOut, &slog.HandlerOptions{Level: slog.LevelWarn})))
			c, err := s.connect()
			if err != nil {
				return err
			}
			server, err := mcp.New(c, c.namespace, clock.RealClock{}, s.ErrOut)
			if err != nil {
				return err
			}
			return server.Serve(cmd.Context(), &sdk.IOTransport{Reader: io.NopCloser(s.In), Writer: unclosed{s.Out}})
		}}
}

// unclosed is a stream that whoever gave it closes.
type unclosed struct{ io.Writer }

func (unclosed) Close() error { return nil }
