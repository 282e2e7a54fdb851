import java.io.File;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.hdfs.MiniDFSCluster;

/** A NameNode and a DataNode, which keep their files in the folder that is named. They end with the parent process. */
public class Cluster {
  public static void main(String[] arguments) throws Exception {
    Configuration configuration = new Configuration();
    configuration.setInt("dfs.replication", 1);
    MiniDFSCluster cluster =
        new MiniDFSCluster.Builder(configuration, new File(arguments[0])).numDataNodes(1).build();
    cluster.waitActive();
    System.out.printf("ready at %d and %d%n", cluster.getNameNodePort(), cluster.getNameNode().getHttpAddress().getPort());
    ProcessHandle.current().parent().get().onExit().join();
    Runtime.getRuntime().halt(0);
  }
}
