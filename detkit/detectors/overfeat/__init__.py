"""OverFeat (Sermanet, Eigen, Zhang, Mathieu, Fergus and LeCun, ICLR 2014)."""
