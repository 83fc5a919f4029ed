package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// echo is the service without generated code: what was said, and the key it was said with.
type echo struct{}

func keyOf(ctx context.Context) string {
	incoming, _ := metadata.FromIncomingContext(ctx)
	return strings.Join(incoming.Get("x-api-key"), ",")
}

func said(message *wrapperspb.BytesValue, key string) *wrapperspb.BytesValue {
	return wrapperspb.Bytes(append([]byte(key+"|"), message.GetValue()...))
}

func unary(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	var message wrapperspb.BytesValue
	if err := decode(&message); err != nil {
		return nil, err
	}
	if string(message.GetValue()) == "fail" {
		return nil, status.Errorf(codes.PermissionDenied, "the key %s may not", keyOf(ctx))
	}
	return said(&message, keyOf(ctx)), nil
}

func turns(_ any, stream grpc.ServerStream) error {
	for {
		var message wrapperspb.BytesValue
		if err := stream.RecvMsg(&message); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := stream.SendMsg(said(&message, keyOf(stream.Context()))); err != nil {
			return err
		}
	}
}

var echoService = grpc.ServiceDesc{
	ServiceName: "echo.Echo",
	HandlerType: (*any)(nil),
	Methods:     []grpc.MethodDesc{{MethodName: "Unary", Handler: unary}},
	Streams:     []grpc.StreamDesc{{StreamName: "Turns", Handler: turns, ServerStreams: true, ClientStreams: true}},
}

func grpcServer() {
	server := grpc.NewServer()
	server.RegisterService(&echoService, echo{})
	must(server.Serve(listen()))
}

func grpcClient() {
	connection, err := grpc.NewClient(host+":443", grpc.WithTransportCredentials(credentials.NewTLS(nil)))
	must(err)
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, options := range [][]grpc.CallOption{nil, {grpc.UseCompressor(gzip.Name)}} {
		with := metadata.AppendToOutgoingContext(ctx, "x-api-key", placeholder)
		grpcUnary(with, connection, options)
		grpcTurns(with, connection, options)
	}
	unknown := metadata.AppendToOutgoingContext(ctx, "x-api-key", "<<no-such-key>>")
	err = connection.Invoke(unknown, "/echo.Echo/Unary", wrapperspb.Bytes(nil), &wrapperspb.BytesValue{})
	expect("a refusal says its code", strings.Contains(status.Convert(err).Message(), "credential_not_found"), fmt.Sprint(err))
}

func grpcUnary(ctx context.Context, connection *grpc.ClientConn, options []grpc.CallOption) {
	for _, message := range []string{"", "hello", strings.Repeat("long ", 50_000)} {
		var answer wrapperspb.BytesValue
		must(connection.Invoke(ctx, "/echo.Echo/Unary", wrapperspb.Bytes([]byte(message)), &answer, options...))
		expect("the echo is masked", string(answer.GetValue()) == mask()+"|"+message, answer.GetValue())
	}
	err := connection.Invoke(ctx, "/echo.Echo/Unary", wrapperspb.Bytes([]byte("fail")), &wrapperspb.BytesValue{}, options...)
	got := status.Convert(err)
	expect("the status is the server's", got.Code() == codes.PermissionDenied, fmt.Sprint(err))
	expect("its message is scrubbed", got.Message() == "the key "+placeholder+" may not", got.Message())
}

// grpcTurns says the next message once the answer to the one before is there.
func grpcTurns(ctx context.Context, connection *grpc.ClientConn, options []grpc.CallOption) {
	stream, err := connection.NewStream(ctx, &echoService.Streams[0], "/echo.Echo/Turns", options...)
	must(err)
	for last := range 256 {
		message := []byte{'m', byte(last)}
		must(stream.SendMsg(wrapperspb.Bytes(message)))
		var answer wrapperspb.BytesValue
		must(stream.RecvMsg(&answer))
		expect("the echo is masked", string(answer.GetValue()) == mask()+"|"+string(message), answer.GetValue())
	}
	must(stream.CloseSend())
	err = stream.RecvMsg(&wrapperspb.BytesValue{})
	expect("the stream ends", errors.Is(err, io.EOF), fmt.Sprint(err))
}
