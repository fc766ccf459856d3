@saga @order
Feature: Everybody agrees before an order is approved
  An order is approved when its consumer is known, the kitchen has a ticket for it and the account has authorized it, in
  this sequence. Who says no ends it: what the others have done is undone, the last first, and the order is rejected.

  Background:
    Given the consumer "Ada"
    And the restaurant "Ajanta" with the menu:
      | dish             | price |
      | Chicken Vindaloo | 12.34 |

  Rule: All agree

    Scenario: An order is approved everywhere
      When "Ada" orders at "Ajanta":
        | dish             | quantity |
        | Chicken Vindaloo | 2        |
      Then the order is approved
      And the ticket of the order is awaiting acceptance
      And the order has one ticket in the kitchen
      And "Ada" has $24.68 authorized
      And the delivery of the order is pending
      And the history shows the order as approved

    @own_system
    Scenario: From cart to delivered
      Given the courier "Carl" is on duty
      When "Ada" orders at "Ajanta":
        | dish             | quantity |
        | Chicken Vindaloo | 2        |
      Then the order is approved
      When the kitchen accepts the order, to be ready in 20 minutes
      Then the delivery of the order is scheduled
      And the order is assigned to "Carl"
      When the kitchen starts preparing the order
      And the kitchen finishes the order
      And the kitchen hands over the order
      Then the delivery of the order is picked up
      When the order is delivered
      Then the delivery of the order is delivered
      And the history of "Ada" shows:
        | order     | restaurant | state    | total | delivery  |
        | the order | Ajanta     | approved | 24.68 | delivered |
      And "Carl" has nothing to do

  Rule: Who says no ends it

    Scenario: The consumer is not known: nobody else is asked
      Given "Zoe", who never registered
      When "Zoe" orders at "Ajanta":
        | dish             | quantity |
        | Chicken Vindaloo | 2        |
      Then the order is rejected because "consumer not found"
      And the order has no ticket in the kitchen
      And the delivery of the order is cancelled
      And the history shows the order as rejected

    @own_system
    Scenario: The kitchen does not know the restaurant: nothing is authorized
      Given the kitchen service has lost what it knew of "Ajanta"
      When "Ada" orders at "Ajanta":
        | dish             | quantity |
        | Chicken Vindaloo | 2        |
      Then the order is rejected because "restaurant not found"
      And the order has no ticket in the kitchen
      And "Ada" has $0.00 authorized
      And the delivery of the order is cancelled

    Scenario: The account refuses: the kitchen's ticket is cancelled
      Given the account of "Ada" has been disabled
      When "Ada" orders at "Ajanta":
        | dish             | quantity |
        | Chicken Vindaloo | 2        |
      Then the order is rejected because "account is disabled"
      And the ticket of the order is cancelled
      And "Ada" has $0.00 authorized
      And the delivery of the order is cancelled
      And the history shows the order as rejected

    Scenario: One rejected order does not stand in the way of the next
      Given the account of "Ada" has been disabled
      And "Ada" has just ordered "lunch" at "Ajanta":
        | dish             | quantity |
        | Chicken Vindaloo | 2        |
      And the order "lunch" is rejected
      And the account of "Ada" has been enabled again
      When "Ada" orders "dinner" at "Ajanta":
        | dish             | quantity |
        | Chicken Vindaloo | 1        |
      Then the order "dinner" is approved
      And the order "lunch" is still rejected
      And "Ada" has $12.34 authorized

    @own_system
    Scenario: What was done is undone in reverse: the order waits until the ticket is cancelled
      Given the account of "Ada" has been disabled
      And the accounting service is away
      And "Ada" has just ordered at "Ajanta":
        | dish             | quantity |
        | Chicken Vindaloo | 2        |
      And the ticket of the order is being created
      When the kitchen service goes away
      And the accounting service is back
      Then the order is still waiting for approval
      When the kitchen service is back
      Then the order is rejected because "account is disabled"
      And the ticket of the order is cancelled

  Rule: Who is away is waited for

    @own_system
    Scenario Outline: The <service> service is away for a while
      Given the <service> service is away
      When "Ada" orders at "Ajanta":
        | dish             | quantity |
        | Chicken Vindaloo | 2        |
      Then the order is waiting for approval
      When the <service> service is back
      Then the order is approved
      And the ticket of the order is awaiting acceptance
      And "Ada" has $24.68 authorized

      Examples:
        | service    |
        | consumer   |
        | kitchen    |
        | accounting |

    @own_system
    Scenario: The order service itself is away while the others answer
      Given the accounting service is away
      And "Ada" has just ordered at "Ajanta":
        | dish             | quantity |
        | Chicken Vindaloo | 2        |
      And the ticket of the order is being created
      When the order service goes away
      And the accounting service is back
      Then "Ada" has $24.68 authorized
      And the ticket of the order is still being created
      When the order service is back
      Then the order is approved
      And the ticket of the order is awaiting acceptance

    @own_system
    Scenario: Once the account has authorized it, nothing can stop an order
      Given the accounting service is away
      And "Ada" has just ordered at "Ajanta":
        | dish             | quantity |
        | Chicken Vindaloo | 2        |
      And the ticket of the order is being created
      When the kitchen service goes away
      And the accounting service is back
      Then "Ada" has $24.68 authorized
      And the order is still waiting for approval
      When the account of "Ada" is disabled
      And the kitchen service is back
      Then the order is approved
      And the ticket of the order is awaiting acceptance
      And "Ada" has $24.68 authorized

    @own_system
    Scenario: A kitchen that refuses after that is asked again until it agrees
      Given the accounting service is away
      And "Ada" has just ordered at "Ajanta":
        | dish             | quantity |
        | Chicken Vindaloo | 2        |
      And the ticket of the order is being created
      And the kitchen service has mislaid the ticket of the order
      When the accounting service is back
      Then "Ada" has $24.68 authorized
      And the order is still waiting for approval
      When the kitchen service finds the ticket of the order again
      Then the order is approved
      And the ticket of the order is awaiting acceptance
      And "Ada" has $24.68 authorized
