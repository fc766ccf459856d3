@delivery
Feature: Couriers
  A courier who is on duty and has nothing to do is free. As soon as a kitchen accepts an order, the courier who has been
  free longest is given its delivery: one at a time.

  Background:
    Given the consumer "Ada"
    And the next restaurant is to be at:
      | street       | city    | state | zip   |
      | 7 Spice Lane | Oakland | CA    | 94611 |
    And the restaurant "Ajanta" with the menu:
      | dish        | price |
      | Garlic Naan | 3.50  |
    And orders are to be delivered to:
      | street         | city    | state | zip   |
      | 9 Amazing View | Oakland | CA    | 94612 |

  Rule: Couriers say whether they are on duty

    @command @own_system
    Scenario: Coming on duty
      When the courier "Carl" goes on duty
      Then the courier "Carl" is on duty
      And "Carl" has nothing to do

    @command @own_system
    Scenario: Going off duty
      Given the courier "Carl" is on duty
      When the courier "Carl" goes off duty
      Then the courier "Carl" is off duty

    @query
    Scenario: Looking up a courier who never came on duty
      Given the courier "Xaver", who never came on duty
      When the courier "Xaver" is looked up
      Then it is refused because "courier not found"

  Rule: An accepted order is given to a free courier

    Background:
      Given "Ada" has ordered "lunch" at "Ajanta":
        | dish        | quantity |
        | Garlic Naan | 2        |

    @policy @own_system
    Scenario: The courier is told where to be, and when
      Given the courier "Carl" is on duty
      When the kitchen accepts the order "lunch", to be ready in 25 minutes
      Then the delivery of the order "lunch" is scheduled
      And the order "lunch" is assigned to "Carl"
      And the delivery of the order "lunch" shows the promised time
      And the plan of "Carl" is:
        | do       | order | at             | when                 |
        | pick up  | lunch | 7 Spice Lane   | at the promised time |
        | drop off | lunch | 9 Amazing View | 30 minutes later     |

    @policy @own_system
    Scenario: Before the kitchen accepts it, nobody is sent
      Given the courier "Carl" is on duty
      Then the delivery of the order "lunch" is pending
      And "Carl" has nothing to do

    @policy @own_system
    Scenario: The courier who has been free longest
      Given the courier "Carl" is on duty
      And the courier "Dora" is on duty
      When the kitchen accepts the order "lunch"
      Then the order "lunch" is assigned to "Carl"
      And "Dora" has nothing to do

    @policy @own_system
    Scenario: Who goes off duty loses the place in the line
      Given the courier "Carl" is on duty
      And the courier "Dora" is on duty
      And the courier "Carl" has gone off duty
      And the courier "Carl" is on duty
      When the kitchen accepts the order "lunch"
      Then the order "lunch" is assigned to "Dora"

    @policy @own_system
    Scenario: Who says twice to be on duty keeps the place in the line
      Given the courier "Carl" is on duty
      And the courier "Dora" is on duty
      And the courier "Carl" is on duty
      When the kitchen accepts the order "lunch"
      Then the order "lunch" is assigned to "Carl"

    @policy @own_system
    Scenario: Who is off duty is given nothing
      Given the courier "Carl" is on duty
      And the courier "Carl" has gone off duty
      When the kitchen accepts the order "lunch"
      Then the ticket of the order "lunch" is accepted
      And the delivery of the order "lunch" is pending
      And "Carl" has nothing to do

    @policy @own_system
    Scenario: When nobody is free, the next courier to come takes it
      Given the kitchen has accepted the order "lunch"
      When the courier "Carl" goes on duty
      Then the order "lunch" is assigned to "Carl"
      And the delivery of the order "lunch" is scheduled

    @policy @own_system
    Scenario: What was handed over without a courier needs none any more
      Given the kitchen has handed over the order "lunch"
      When the courier "Carl" goes on duty
      Then "Carl" has nothing to do
      And the order "lunch" is assigned to nobody

    @policy @own_system
    Scenario: A courier who goes off duty keeps the plan
      Given the courier "Carl" is on duty
      And the kitchen has accepted the order "lunch"
      And the delivery of the order "lunch" is scheduled
      When the courier "Carl" goes off duty
      Then the courier "Carl" is off duty
      And the plan of "Carl" is:
        | do       | order | at             | when                 |
        | pick up  | lunch | 7 Spice Lane   | at the promised time |
        | drop off | lunch | 9 Amazing View | 30 minutes later     |

    @command @own_system
    Scenario: What a courier is to pick up can't have been delivered
      Given the courier "Carl" is on duty
      And the kitchen has accepted the order "lunch"
      And the delivery of the order "lunch" is scheduled
      When the order "lunch" is delivered
      Then it is refused because "delivery state does not allow action"
      And the delivery of the order "lunch" is still scheduled

    @policy @own_system
    Scenario: A cancelled order is taken off the plan
      Given the courier "Carl" is on duty
      And the kitchen has accepted the order "lunch"
      And the delivery of the order "lunch" is scheduled
      When "Ada" cancels the order "lunch"
      Then the delivery of the order "lunch" is cancelled
      And "Carl" has nothing to do

    @policy @own_system
    Scenario: A delivered order is taken off the plan
      Given the courier "Carl" is on duty
      And the kitchen has handed over the order "lunch"
      When the order "lunch" is delivered
      Then the delivery of the order "lunch" is delivered
      And "Carl" has nothing to do
      And the order "lunch" is assigned to "Carl"

  Rule: One delivery at a time

    Background:
      Given "Ada" has ordered "lunch" at "Ajanta":
        | dish        | quantity |
        | Garlic Naan | 2        |
      And "Ada" has ordered "dinner" at "Ajanta":
        | dish        | quantity |
        | Garlic Naan | 3        |
      And the courier "Carl" is on duty
      And the kitchen has accepted the order "lunch"
      And the delivery of the order "lunch" is scheduled

    @policy @own_system
    Scenario: A second order waits while the only courier is busy
      When the kitchen accepts the order "dinner"
      Then the ticket of the order "dinner" is accepted
      And the delivery of the order "dinner" is pending
      And the plan of "Carl" is:
        | do       | order | at             | when                 |
        | pick up  | lunch | 7 Spice Lane   | at the promised time |
        | drop off | lunch | 9 Amazing View | 30 minutes later     |

    @policy @own_system
    Scenario: A second courier takes the second order
      Given the courier "Dora" is on duty
      When the kitchen accepts the order "dinner"
      Then the order "dinner" is assigned to "Dora"
      And the order "lunch" is assigned to "Carl"

    @policy @own_system
    Scenario: A cancellation lets the courier take the order that waits
      Given the kitchen has accepted the order "dinner"
      When "Ada" cancels the order "lunch"
      Then the order "dinner" is assigned to "Carl"
      And the delivery of the order "lunch" is cancelled

    @policy @own_system
    Scenario: Of those that wait, the one that was accepted first
      Given "Ada" has ordered "supper" at "Ajanta":
        | dish        | quantity |
        | Garlic Naan | 1        |
      And the kitchen has accepted the order "supper"
      And the kitchen has accepted the order "dinner"
      When "Ada" cancels the order "lunch"
      Then the order "supper" is assigned to "Carl"
      And the delivery of the order "dinner" is pending
