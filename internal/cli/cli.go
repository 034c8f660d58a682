// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package cli is the plugin `kubectl valetkey`: it does, in fewer words, what plain kubectl does with the caller's own rights.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/redirects"
	"github.com/valetkey/valetkey/internal/version"
	"github.com/valetkey/valetkey/internal/visible"
)

// shell is what every command has: the streams, the flags of kubectl, the present time, and what makes clients.
type shell struct {
	// IOStreams show no character that could play with a terminal.
	genericiooptions.IOStreams
	// raw takes what a step prints, byte by byte, unless it is a terminal.
	raw   io.Writer
	flags *genericclioptions.ConfigFlags
	clock clock.PassiveClock
	dial  func(*rest.Config) (client.WithWatch, error)
}

// cluster is where a command works.
type cluster struct {
	client.WithWatch
	config    *rest.Config
	namespace string
}

// Run runs the plugin and returns the process's exit code: 0 when all went well, what a command says, or 1.
func Run(ctx context.Context, args []string, streams genericiooptions.IOStreams, c clock.PassiveClock) int {
	return newShell(streams, c, dial).run(ctx, args)
}

func newShell(streams genericiooptions.IOStreams, c clock.PassiveClock, dial func(*rest.Config) (client.WithWatch, error)) *shell {
	raw := visible.OnTerminal(streams.Out)
	streams.Out, streams.ErrOut = visible.NewWriter(streams.Out), visible.NewWriter(streams.ErrOut)
	return &shell{IOStreams: streams, raw: raw, flags: genericclioptions.NewConfigFlags(true), clock: c, dial: dial}
}

func (s *shell) run(ctx context.Context, args []string) int {
	root := s.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	said := (*exit)(nil)
	if errors.As(err, &said) {
		return said.code
	}
	if err != nil {
		_, _ = fmt.Fprintln(s.ErrOut, "error:", s.lead(err))
		return 1
	}
	return 0
}

// exit ends the process with a code; everything has been said.
type exit struct{ code int }

func (e *exit) Error() string { return fmt.Sprintf("exit code %d", e.code) }

func (s *shell) root() *cobra.Command {
	root := &cobra.Command{
		Use: "kubectl-valetkey", Annotations: map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl valetkey"},
		Short:        "Ask for capabilities, decide on requests, read what happened",
		SilenceUsage: true, SilenceErrors: true,
		Version: version.Line("kubectl-valetkey"),
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetIn(s.In)
	root.SetOut(s.Out)
	root.SetErr(s.ErrOut)
	s.flags.AddFlags(root.PersistentFlags())
	root.AddCommand(s.runStep(), s.requests(), s.grants(), s.describe(), s.approve(), s.deny(), s.revoke(), s.why(), s.can(), s.audit(), s.policy(), s.mcp())
	return root
}

// connect is the cluster that the flags and the kubeconfig name.
func (s *shell) connect() (*cluster, error) {
	config, err := s.flags.ToRESTConfig()
	if err != nil {
		return nil, err
	}
	return s.reach(config)
}

// reach is the cluster that a configuration names, with its rights.
func (s *shell) reach(config *rest.Config) (*cluster, error) {
	config.QPS = -1 // the API server's own limits hold
	config.Wrap(redirects.Drop)
	config.WarningHandler = rest.NewWarningWriter(s.ErrOut, rest.WarningWriterOptions{Deduplicate: true})
	c, err := s.dial(config)
	if err != nil {
		return nil, err
	}
	namespace, _, err := s.flags.ToRawKubeConfigLoader().Namespace()
	return &cluster{WithWatch: c, config: config, namespace: namespace}, err
}

// dial makes a client of the API server.
func dial(config *rest.Config) (client.WithWatch, error) {
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	return client.NewWithWatch(config, client.Options{Scheme: scheme})
}
