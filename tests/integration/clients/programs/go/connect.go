package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

type (
	bytesValue = wrapperspb.BytesValue
	caller     = connect.Client[bytesValue, bytesValue]
)

func connectServer() {
	routes := http.NewServeMux()
	routes.Handle("/echo.Echo/Unary", connect.NewUnaryHandler("/echo.Echo/Unary",
		func(_ context.Context, request *connect.Request[bytesValue]) (*connect.Response[bytesValue], error) {
			return connect.NewResponse(said(request.Msg, request.Header().Get("x-api-key"))), nil
		}))
	routes.Handle("/echo.Echo/Many", connect.NewServerStreamHandler("/echo.Echo/Many",
		func(_ context.Context, request *connect.Request[bytesValue], stream *connect.ServerStream[bytesValue]) error {
			for range 3 {
				if err := stream.Send(said(request.Msg, request.Header().Get("x-api-key"))); err != nil {
					return err
				}
			}
			return connect.NewError(connect.CodeAborted, fmt.Errorf("enough of %s", request.Header().Get("x-api-key")))
		}))
	routes.Handle("/echo.Echo/Turns", connect.NewBidiStreamHandler("/echo.Echo/Turns",
		func(_ context.Context, stream *connect.BidiStream[bytesValue, bytesValue]) error {
			for {
				message, err := stream.Receive()
				if errors.Is(err, io.EOF) {
					return nil
				} else if err != nil {
					return err
				}
				if err := stream.Send(said(message, stream.RequestHeader().Get("x-api-key"))); err != nil {
					return err
				}
			}
		}))
	serveHTTP(routes)
}

// connectClient speaks each of the three protocols, with messages compressed both ways, which the
// library asks for by default, and only the answers.
func connectClient() {
	protocols := map[string][]connect.ClientOption{
		"connect":      {},
		"connect+json": {connect.WithProtoJSON()},
		"grpc":         {connect.WithGRPC()},
		"grpc-web":     {connect.WithGRPCWeb()},
	}
	overHTTP1 := &http.Client{
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment},
		Timeout:   time.Minute,
	}
	for name, options := range protocols {
		for _, more := range [][]connect.ClientOption{options, append(options, connect.WithSendGzip())} {
			connectUnary(name, overHTTP2(), more)
			connectMany(name, overHTTP2(), more)
			connectTurns(name, more)
			if name != "grpc" {
				connectUnary(name, overHTTP1, more)
				connectMany(name, overHTTP1, more)
			}
		}
		connectRefusal(name, options)
	}
}

func client(transport *http.Client, method string, options []connect.ClientOption) *caller {
	return connect.NewClient[bytesValue, bytesValue](transport, "https://"+host+"/echo.Echo/"+method, options...)
}

func request(message string) *connect.Request[bytesValue] {
	request := connect.NewRequest(wrapperspb.Bytes([]byte(message)))
	request.Header().Set("x-api-key", placeholder)
	return request
}

// inPlace is what stands where the value stood: JSON holds bytes in base64, where the length changes.
func inPlace(protocol string) string {
	if protocol == "connect+json" {
		return placeholder
	}
	return mask()
}

func connectUnary(name string, transport *http.Client, options []connect.ClientOption) {
	for _, message := range []string{"", "hello", strings.Repeat("long ", 50_000)} {
		answer, err := client(transport, "Unary", options).CallUnary(context.Background(), request(message))
		must(err)
		got := string(answer.Msg.GetValue())
		want := inPlace(name) + "|" + message
		expect(name+": the echo is masked", got == want, got[:min(len(got), 99)])
	}
}

func connectMany(name string, transport *http.Client, options []connect.ClientOption) {
	stream, err := client(transport, "Many", options).CallServerStream(context.Background(), request("hello"))
	must(err)
	count := 0
	for stream.Receive() {
		count++
		got := string(stream.Msg().GetValue())
		expect(name+": the echo is masked", len(got) > len("|hello") && !strings.Contains(got, value()), got)
	}
	err = stream.Err()
	expect(name+": three messages", count == 3, fmt.Sprint(count, err))
	expect(name+": the error comes last", connect.CodeOf(err) == connect.CodeAborted, fmt.Sprint(err))
	expect(name+": and has no value", !strings.Contains(fmt.Sprint(err), value()), fmt.Sprint(err))
}

func connectTurns(name string, options []connect.ClientOption) {
	stream := client(overHTTP2(), "Turns", options).CallBidiStream(context.Background())
	stream.RequestHeader().Set("x-api-key", placeholder)
	for last := range 256 {
		message := string([]byte{'m', byte(last)})
		must(stream.Send(wrapperspb.Bytes([]byte(message))))
		answer, err := stream.Receive()
		must(err)
		got := string(answer.GetValue())
		expect(name+": the echo is masked", strings.HasSuffix(got, "|"+message) && !strings.Contains(got, value()), got)
	}
	must(stream.CloseRequest())
	_, err := stream.Receive()
	expect(name+": the stream ends", errors.Is(err, io.EOF), fmt.Sprint(err))
}

func connectRefusal(name string, options []connect.ClientOption) {
	unknown := request("hello")
	unknown.Header().Set("x-api-key", "<<no-such-key>>")
	_, err := client(overHTTP2(), "Unary", options).CallUnary(context.Background(), unknown)
	expect(name+": a refusal says its code", strings.Contains(fmt.Sprint(err), "credential_not_found"), fmt.Sprint(err))
}
