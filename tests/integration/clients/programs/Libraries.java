// Sends a placeholder by a library that is named on the command line, without a word about a proxy. Prints
// what the answer is.

import com.anthropic.client.okhttp.AnthropicOkHttpClient;
import com.anthropic.models.messages.MessageCreateParams;
import com.openai.client.okhttp.OpenAIOkHttpClient;
import io.grpc.CallOptions;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.MetadataUtils;
import java.io.ByteArrayInputStream;
import java.io.InputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.sql.DriverManager;
import java.util.Properties;
import java.util.concurrent.TimeUnit;
import org.springframework.web.client.RestClient;
import org.springframework.web.client.RestTemplate;
import org.springframework.http.HttpEntity;
import org.springframework.http.HttpHeaders;
import org.springframework.http.HttpMethod;
import software.amazon.awssdk.auth.credentials.AnonymousCredentialsProvider;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.sts.StsClient;

public class Libraries {
    static final String BASE = "https://api.example.test";

    public static void main(String[] args) throws Exception {
        System.out.println(switch (args[0]) {
            case "rest-template" -> restTemplate();
            case "rest-client" -> restClient();
            case "aws" -> aws();
            case "trino" -> trino();
            case "openai" -> openai();
            case "anthropic" -> anthropic();
            case "grpc" -> grpc();
            default -> throw new IllegalArgumentException(args[0]);
        });
        // Some of them keep threads.
        System.exit(0);
    }

    static String restTemplate() {
        var headers = new HttpHeaders();
        headers.setBearerAuth("<<pat>>");
        var entity = new HttpEntity<Void>(headers);
        return new RestTemplate().exchange(BASE + "/spring", HttpMethod.GET, entity, String.class).getBody();
    }

    static String restClient() {
        return RestClient.create().get().uri(BASE + "/spring")
            .header("Authorization", "Bearer <<pat>>").retrieve().body(String.class);
    }

    static String aws() {
        var client = StsClient.builder()
            .region(Region.EU_CENTRAL_1)
            .endpointOverride(URI.create(BASE))
            .credentialsProvider(AnonymousCredentialsProvider.create())
            .overrideConfiguration(it -> it.putHeader("Authorization", "Bearer <<pat>>"))
            .build();
        return client.getCallerIdentity().arn();
    }

    static String trino() throws Exception {
        var properties = new Properties();
        properties.setProperty("user", "me");
        properties.setProperty("SSL", "true");
        properties.setProperty("accessToken", "<<pat>>");
        try (var connection = DriverManager.getConnection("jdbc:trino://api.example.test:443/a/b", properties);
             var statement = connection.createStatement();
             var rows = statement.executeQuery("SELECT 1")) {
            rows.next();
            return rows.getString(1);
        }
    }

    static String openai() {
        var client = OpenAIOkHttpClient.builder().apiKey("<<pat>>").baseUrl(BASE + "/v1").build();
        return client.models().retrieve("m").id();
    }

    static String anthropic() {
        var client = AnthropicOkHttpClient.builder().apiKey("<<pat>>").baseUrl(BASE).build();
        var asked = MessageCreateParams.builder().model("m").maxTokens(5).addUserMessage("hello").build();
        return client.messages().create(asked).content().get(0).asText().text();
    }

    /** Bytes as they are, in place of generated classes. */
    static final class Bytes implements MethodDescriptor.Marshaller<byte[]> {
        public InputStream stream(byte[] value) {
            return new ByteArrayInputStream(value);
        }

        public byte[] parse(InputStream stream) {
            try {
                return stream.readAllBytes();
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
        }
    }

    static String grpc() {
        ManagedChannel channel = NettyChannelBuilder.forTarget("api.example.test:443").build();
        var method = MethodDescriptor.<byte[], byte[]>newBuilder()
            .setType(MethodDescriptor.MethodType.UNARY).setFullMethodName("echo.Echo/Unary")
            .setRequestMarshaller(new Bytes()).setResponseMarshaller(new Bytes()).build();
        var head = new Metadata();
        head.put(Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER), "Bearer <<pat>>");
        var options = CallOptions.DEFAULT.withDeadlineAfter(60, TimeUnit.SECONDS);
        var intercepted = io.grpc.ClientInterceptors.intercept(channel, MetadataUtils.newAttachHeadersInterceptor(head));
        var answer = ClientCalls.blockingUnaryCall(intercepted, method, options, "hello".getBytes(StandardCharsets.UTF_8));
        return new String(answer, StandardCharsets.UTF_8);
    }
}
