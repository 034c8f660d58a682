// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package mcp is a server of the Model Context Protocol, with which an agent asks for capabilities and learns what became of them. It acts
// with the rights of whoever runs it, and reads no Secret, no log and no environment: none of its answers can hold a credential.
package mcp

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/internal/inquiry"
)

// instructions are what a client may tell its model before anything else.
const instructions = "Ask for a capability, never for a secret. The order: capabilities, ask, wait. ask runs one container as a Kubernetes Job; it alone gets the credential, which no tool ever shows. " +
	"Every answer ends with what to do next."

// patience bounds what is asked of the API server, beside waiting for somebody.
const patience = 30 * time.Second

// Server answers one agent.
type Server struct {
	client    client.WithWatch
	inquirer  *inquiry.Inquirer
	namespace string
	clock     clock.WithTicker
	log       *slog.Logger
}

// New makes a server that works in one namespace with the client's rights, and logs what goes wrong with the protocol.
func New(c client.WithWatch, namespace string, clock clock.WithTicker, log io.Writer) (*Server, error) {
	inquirer, err := inquiry.New(c, clock)
	if err != nil {
		return nil, err
	}
	logger := slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	return &Server{client: c, inquirer: inquirer, namespace: namespace, clock: clock, log: logger}, nil
}

// Serve answers a client until it goes, or the context ends.
func (s *Server) Serve(ctx context.Context, transport sdk.Transport) error {
	server := sdk.NewServer(&sdk.Implementation{Name: "valetkey", Version: "v1alpha1"}, &sdk.ServerOptions{
		Instructions: instructions, Logger: s.log, Capabilities: &sdk.ServerCapabilities{Tools: &sdk.ToolCapabilities{}}})
	for _, t := range s.tools() {
		server.AddTool(t.described(), func(calling context.Context, request *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
			// A session that is closed waits for what it answers.
			calling, cancel := context.WithCancel(calling)
			defer context.AfterFunc(ctx, cancel)()
			defer cancel()
			return t.handle(calling, request)
		})
	}
	session, err := server.Connect(ctx, transport, nil)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = session.Close() })
	defer stop()
	if err := session.Wait(); ctx.Err() == nil {
		return err
	}
	return nil
}

// call is one use of a tool.
type call struct {
	input
	request *sdk.CallToolRequest
}

// tool is something that an agent can do.
type tool struct {
	name, says string
	fields     []field
	// looks is set when it changes nothing, ends when it takes something away.
	looks, ends bool
	do          func(context.Context, *call) answer
}

func (t *tool) described() *sdk.Tool {
	return &sdk.Tool{Name: t.name, Description: t.says, InputSchema: schemaOf(t.fields), Annotations: &sdk.ToolAnnotations{
		ReadOnlyHint: t.looks, DestructiveHint: ptr.To(t.ends), IdempotentHint: t.looks || t.ends, OpenWorldHint: ptr.To(false)}}
}

// handle checks what the tool was given, and says what it answers, once, as text: clients that show their model what is structured
// beside the text would make it pay twice.
func (t *tool) handle(ctx context.Context, request *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
	in, problems := check(request.Params.Arguments, t.fields)
	a := answer{failed: true, body: told{State: stateInvalid, Rule: "the limits of the fields", Message: strings.Join(problems, "; "),
		Next: "nothing was done; call " + t.name + " again with what is allowed"}}
	if len(problems) == 0 {
		a = t.do(ctx, &call{input: in, request: request})
	}
	said, err := encoded(a.body)
	if err != nil {
		return nil, err
	}
	return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: said}}, IsError: a.failed}, nil
}
